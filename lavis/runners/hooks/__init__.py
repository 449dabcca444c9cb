"""What happens around the training loop; an entry's name is its file's name."""
