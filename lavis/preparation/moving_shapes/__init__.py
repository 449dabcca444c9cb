"""What the sample corpus is made of: stories of moving shapes, their pictures, and their annotations."""
