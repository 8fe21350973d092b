"""A Context that lives through rounds and exceptions, with records of every kind."""
