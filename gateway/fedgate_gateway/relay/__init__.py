"""The gateway's side of the link: it connects peers, relays what they seal, and reads none of it."""
