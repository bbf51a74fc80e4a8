"""Training: samples made on the fly, one trainer for every method; knows none of them."""
