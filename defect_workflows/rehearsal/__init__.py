"""The stand-in for VASP; imports nothing, so that `mock-vasp` starts quickly."""
