"""What an image records of its run, and the way back."""
