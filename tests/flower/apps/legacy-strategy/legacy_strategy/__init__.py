"""server_fn with a strategy of the app's own; a Client and a NumPyClient through client_fn."""
