"""A folder for any static host that parses photographs in the browser: the page, its model and its runtime."""
