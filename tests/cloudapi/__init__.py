"""A CloudAPI of our own, over real HTTP on the loopback address: verifies signatures, lags behind, fails as planned."""
