"""What the benchmark of the whole system is made of; `whole.py` beside this folder runs it."""
