"""Judges runs: is all of it there, was the generator fit, were the objectives met, must it be stopped?"""
