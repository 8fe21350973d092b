"""Arrays of any dtype and shape, bytes, lists, booleans: echoed and compared."""
