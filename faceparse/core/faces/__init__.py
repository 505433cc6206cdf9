"""Find faces, read their five points, align and crop them."""
