"""Can the labels of a data set be believed?"""
