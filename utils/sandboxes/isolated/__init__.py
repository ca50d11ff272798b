"""Sandboxes in folders of this machine, whose commands bubblewrap keeps away from all the rest."""
