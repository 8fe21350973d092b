"""The gateway's side of the link: it connects peers and relays what they seal, unread."""
