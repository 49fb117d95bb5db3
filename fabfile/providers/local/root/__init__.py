"""The root program of the provider ``local``: all that needs root, by verb, one JSON object in and one out.

Runs alone, under any Python from 3.11 on and with the standard library only; knows nothing of the rest of the project.
"""
