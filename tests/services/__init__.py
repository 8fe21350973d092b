"""What a gateway needs from elsewhere: on this machine, and away when a test wants it away."""
