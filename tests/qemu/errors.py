"""What the modules of the rig have in common when something is missing."""


class MissingPrerequisite(Exception):
    """Something that must be installed, built or fetched before a test can run is not there."""
