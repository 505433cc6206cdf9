"""Reads whole files, writes whole files or nothing, and knows files by their content. All writing happens here."""
