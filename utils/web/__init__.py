"""The page for browsers: its files, and the headers that they are served with."""
