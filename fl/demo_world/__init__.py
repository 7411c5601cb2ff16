"""The demonstration: invented places, how people ask there, and what they mean (text only).

A demonstration, not evidence: it shows every part of the system at work in minutes. Public text
teaches the language of requests with random cards; what a private place is like stands only in
its own book and card.
"""
