"""Commands that look after what is stored: the archive, backups and the clean-up."""
