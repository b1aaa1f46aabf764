"""Judges new runs against accepted runs: may this release go out?"""
