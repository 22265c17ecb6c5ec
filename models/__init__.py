"""Labels to weights: tokenisation, encoder, scoring, batching, training and evaluation."""
