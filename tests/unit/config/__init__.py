"""Configuration files and ISP files."""
