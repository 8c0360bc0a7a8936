"""Decides what each line may do now: who is let in, at what rate, and how a NAS is told."""
