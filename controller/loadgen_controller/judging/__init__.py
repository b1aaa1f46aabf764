"""Judges runs: are all data there, could the generator measure, were objectives met, must the run stop?"""
