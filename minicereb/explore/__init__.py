"""A page that shows attacks on a trained model step by step, and two motor tasks trial by trial.

Python computes everything that the page shows and stores it in the page; the script in the page only draws.
"""
