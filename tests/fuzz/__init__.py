"""Fuzz targets of every parser that reads bytes somebody else wrote."""
