"""In place of OpenMined's library, whose interface FLARE's handlers call."""
