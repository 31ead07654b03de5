"""What is measured of an image: distances, intervals, looks, stability, lesions, vessels; and scores over data sets."""
