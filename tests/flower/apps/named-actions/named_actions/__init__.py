"""Push and pull by hand: named actions, queries, error replies, exceptions, several threads."""
