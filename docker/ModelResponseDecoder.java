package com.amazonaws.ml.mms.util.codec;

import com.amazonaws.ml.mms.util.messages.ModelWorkerResponse;
import com.amazonaws.ml.mms.util.messages.Predictions;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.CorruptedFrameException;
import io.netty.handler.codec.ReplayingDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads what a worker answers; it takes the place of multi-model-server's own class of this name.
 *
 * <p>That one takes a status, or a map of headers, that arrives in two pieces for a damaged message and ends the worker.
 * Pieces become the smaller the shorter the answers before were, so any longer answer could do it. Netty's replaying
 * decoder begins again from the message's first byte until all of it is there.
 *
 * <p>The message, as mms/protocol/otf_message_handler.py writes it: status, text, and for each request its id, content
 * type, status, reason, headers (their number, then names and values) and body; -1 ends it. Numbers are 32-bit and big
 * endian, texts UTF-8 with their length in bytes before them.
 */
public class ModelResponseDecoder extends ReplayingDecoder<Void> {
    private static final int END = -1;

    private final int maxLength;

    public ModelResponseDecoder(int maxLength) {
        this.maxLength = maxLength;
    }

    @Override
    protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) {
        ModelWorkerResponse response = new ModelWorkerResponse();
        response.setCode(in.readInt());
        response.setMessage(text(in, in.readInt()));
        List<Predictions> predictions = new ArrayList<>();
        for (int length = in.readInt(); length != END; length = in.readInt()) {
            Predictions prediction = new Predictions();
            prediction.setRequestId(text(in, length));
            prediction.setContentType(text(in, in.readInt()));
            prediction.setStatusCode(in.readInt());
            prediction.setReasonPhrase(text(in, in.readInt()));
            Map<String, String> headers = new HashMap<>();
            for (int count = in.readInt(); count > 0; count--) {
                String name = text(in, in.readInt());
                headers.put(name, text(in, in.readInt()));
            }
            prediction.setHeaders(headers);
            prediction.setResp(bytes(in, in.readInt()));
            predictions.add(prediction);
        }
        response.setPredictions(predictions);
        out.add(response);
    }

    private String text(ByteBuf in, int length) {
        return new String(bytes(in, length), StandardCharsets.UTF_8);
    }

    private byte[] bytes(ByteBuf in, int length) {
        if (length < 0 || length > maxLength) {
            throw new CorruptedFrameException("a worker's answer has a part of " + length + " bytes");
        }
        in.skipBytes(length); // not there yet: no memory is taken, and all of this begins again later
        byte[] content = new byte[length];
        in.getBytes(in.readerIndex() - length, content);
        return content;
    }
}
