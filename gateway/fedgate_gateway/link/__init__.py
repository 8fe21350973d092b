"""The peers' end of the link: connection to the gateway, sessions through it, cargo beside it."""
