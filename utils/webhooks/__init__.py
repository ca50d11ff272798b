"""GitHub's deliveries and what follows from them."""
