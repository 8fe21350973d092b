"""What an app opens before its first message and closes after its last."""
