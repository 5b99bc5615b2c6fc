/* From YUV to RGB: ../decode/colour.py says the same to Python, and a test holds the two equal. */
#ifndef COLOUR_H
#define COLOUR_H

#define RED_V 1.402f
#define GREEN_U 0.344136f
#define GREEN_V 0.714136f
#define BLUE_U 1.772f

#endif
