"""Small worlds in which everything can be seen or computed: the game in two dimensions, the Gaussian trade-off."""
