"""Defines the requests and answers of subjects with many fields, one file for each."""
