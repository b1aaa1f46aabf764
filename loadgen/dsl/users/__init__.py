"""Users: the object that a journey gets as its argument, and the code that runs iterations."""
