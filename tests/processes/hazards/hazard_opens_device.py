import os

device = os.open(f"{os.environ['DEVICES']}/nvidia0", os.O_RDONLY)
