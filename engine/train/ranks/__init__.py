"""The processes of a run: how they start, find each other, agree, and notice that one is gone."""
