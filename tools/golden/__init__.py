"""The golden record: what ``icis`` prints and writes for some 450 command lines.

``python -m tools.golden`` runs the command lines of ``golden/*.txt`` and compares; with
``--update`` it accepts what it finds. ``transcript`` says what these files look like,
``comparing`` when two records agree.
"""
