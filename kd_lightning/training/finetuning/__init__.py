"""How much of a network with weights from elsewhere is trained further, and when."""
