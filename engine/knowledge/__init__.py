"""What is known about accuracy by training time: published figures, our own measured runs, and predictions from them."""
