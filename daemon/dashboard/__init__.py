"""Views of a running daemon: the terminal view; they read state and never change it."""
