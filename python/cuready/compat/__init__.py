"""Version facts and the pure rules over them."""
