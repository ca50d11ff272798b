"""The page as a person uses it: one class for each view, which clicks and reads."""
