"""The potential: MACE with two fidelities and the charge."""
