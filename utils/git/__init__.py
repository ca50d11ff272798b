"""Building git commands and reading what git prints; repository URLs and branch names."""
