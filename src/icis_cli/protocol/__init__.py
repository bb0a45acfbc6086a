"""The paper's protocol from an xlsa17 folder: data, splits, the base head, published figures."""
