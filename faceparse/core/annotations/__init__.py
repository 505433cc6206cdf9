"""Files of annotation tools, read and written: one file a tool."""
