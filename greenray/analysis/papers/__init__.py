"""What two papers found, held against what was measured here.

`figures` has what they found, `claim` what a claim is and the three answers that data can give it. Each other file holds one kind
of claim against data: of `tactics`, of how descriptors and energy go together (`correlating`), of `predicting` energy.
"""
