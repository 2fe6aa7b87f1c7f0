"""The single writer: stamp, journal, apply, acknowledge, publish; and the way back from a journal to a state."""
